"""Papers reproduced with tighter, each in one file that reads from top to bottom.

A file's docstring says the paper, the command, its time and the numbers to expect. Then come `run`,
which measures and leaves a record in a folder; `summary`, the lines that the command prints; and
`draw`, the pictures from the folder's files alone. `tighter reproduce --list` names them all.
"""
