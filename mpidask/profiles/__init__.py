"""Profiles of sites: named pieces of configuration, and how layers of configuration come to one.

NAME.yaml is a profile that mpidask brings; users and sites declare their own in the configuration, under
``mpidask: {profiles: {NAME: ...}}``. Runs wherever `configuration` does. May import errors.
"""
