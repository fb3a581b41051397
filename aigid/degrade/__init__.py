"""What happens to images on their way through the world: operators, the policies that draw them, and named views."""
