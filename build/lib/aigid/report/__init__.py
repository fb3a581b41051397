"""Render evaluation results: tables, figures, the HTML report and model cards."""
