"""What is compared, by name: which branches an arm has, what is fitted for it, and how its model comes about."""
