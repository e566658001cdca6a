"""Datasets on disk: building, reading, the training order, the audit."""
