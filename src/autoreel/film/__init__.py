"""From a storyboard to a finished film."""
