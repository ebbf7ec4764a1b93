"""The upgrade in place: a snapshot of the old program, and a new one that goes on from it.

Stands above the master (`entry`, `restore`: the new program) and below it (`snapshot`, `program`,
`execute`: the old one). What each owner hands over, and makes of it, is written beside the owner.
"""
