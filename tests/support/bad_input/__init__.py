"""The suite of bad input, S1 to S49: each case sends what must not get in, and says what comes."""
