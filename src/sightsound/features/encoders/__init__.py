"""One file per frozen encoder; the weights it reads beside it."""
