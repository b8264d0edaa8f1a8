"""Sections of the report: from finished tables to sentences, cards and pictures, one question a section."""
