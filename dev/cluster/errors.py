"""What can go wrong, for people: each message says what was found and what to do about it."""


class ClusterError(Exception):
    """Any failure of the development cluster that a person can act on."""


class MissingPrerequisite(ClusterError):
    """Something has to be installed first."""


class CommandFailed(ClusterError):
    """A program ended with an exit code other than 0."""

    def __init__(self, command: str, exit_code: int, output: str) -> None:
        super().__init__(f"`{command}` ended with exit code {exit_code}:\n{output.strip()}")
        self.exit_code = exit_code
        self.output = output


class NotReady(ClusterError):
    """Something that was started did not answer in time."""
