"""Audit a dataset: does anything but the forgery tell generated images from real ones?"""
