"""Other libraries' interfaces to the models here."""
