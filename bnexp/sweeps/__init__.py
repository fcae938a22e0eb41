"""Many runs from one command line: planned, launched, followed and gone on with."""
