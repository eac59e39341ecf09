"""The doors to Numba and llvmlite: nothing else imports them.

Much of what compiles kernels is private there, and changes from version to version. What is used is
listed behind each door and looked for as it opens, so that a version which does not do is named
with those which do, before anything is compiled.
"""
