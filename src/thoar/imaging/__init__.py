"""Pure functions from volumes to volumes: resampling, body, components, preparation and its exact undo.

No files, no torch. Faster twins live in ``inference`` and are tested against what stands here.
"""
