"""Run the jobs of a bundle on this machine as the platform runs them: same files, same wheel, same order."""
