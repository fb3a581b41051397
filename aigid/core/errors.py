"""The one exception that means: the user's input is wrong."""


class InputError(ValueError):
    """A user's mistake, told in one line that names the thing and the value; commands exit with 2."""
