"""What the tests share: a server in this process, a wire and a clock moved by hand."""
