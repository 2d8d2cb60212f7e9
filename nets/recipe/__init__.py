"""The classic experiments, from the publishers' files to a page of results: ``python -m nets.recipe NAME``.

A recipe is a list of stages, each one command of this project that runs in the work folder; the page's commands are
those that ran.
"""
