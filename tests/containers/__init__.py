"""The images and the compose files of ``containers/``: built by buildah, and run, on this machine."""
