"""What is asked however far it is: distances without a cap, the nearest partner, what is unknown."""
