"""Degradations of images: operators, policies, named views."""
