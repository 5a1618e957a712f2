"""Networks for one example: several layers, convolutions for images, any other callable."""
