"""Image degradations: operators, the policies that sample them, and named, seeded views."""
