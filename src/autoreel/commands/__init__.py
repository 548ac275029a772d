"""What each command of the command line does; every one is a thin function over one public function.

Everything heavy is imported when a command runs, so that the help comes at once. The docstrings are the help.
"""
