"""Many runs read together: which are meant, how they group, and what their numbers say."""
