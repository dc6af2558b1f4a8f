"""An app for Django: with ``INSTALLED_APPS = ["tricorn.django", ...]`` the command ``runserver`` serves on Tricorn."""
