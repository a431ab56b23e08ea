"""Programs that the tests run with the client packages of requirements.txt, in an environment of their own."""
