"""Profiles of sites: named pieces of configuration, and how the layers of the configuration come to one.

NAME.yaml is a profile that mpidask brings; users and sites declare their own in the configuration, under
``mpidask: {profiles: {NAME: ...}}``. Used by `configuration`, wherever that runs. May import errors.
"""
