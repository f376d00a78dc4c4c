"""From a patient to a CT: the view, and what couch, motion, rays, kernel, slices and noise make of it."""
