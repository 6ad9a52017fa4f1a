/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_FUSE_EIO_H
#define BEZOAR_TESTS_FUSE_EIO_H

#include <stddef.h>

/*
 * A file of @len bytes of @bytes on a file system of our own, of which what lies
 * at @bad and behind it cannot be read: EIO. An open descriptor; skips the case
 * where no file system can be mounted. It goes with the process.
 */
int fuse_eio_open(size_t len, size_t bad, const unsigned char *bytes);

/* An empty file of the same sort, to which a write does not come back before
 * fuse_gone(). */
int fuse_hang_open(void);
void fuse_gone(void);

#endif
