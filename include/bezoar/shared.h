/* SPDX-License-Identifier: MIT */
/*
 * Memory that several mappings share: memfd, tmpfs, shared anonymous memory,
 * hugetlbfs, and files on a disk.
 *
 * A lost page of a memory file cannot be overwritten; it has to be punched out,
 * and filled again. In between the file has a hole there, which reads as zeros
 * for whoever does not know better. So a page of such a region is replaced
 * only if its owner says who else there is:
 *
 *  - EXCLUSIVE: this process alone uses the file (after fork(2) the parent or the
 *    child, not both), and does so through the mapping: its own threads never
 *    see the hole there. (A pread(2) of the page may.)
 *  - FENCED: every process that maps the file has registered the range with
 *    bezoar, FENCED as well, before it touched it; who reads it by system
 *    calls does so by bez_shared_pread(), nobody writes to it by system calls
 *    or has locks of his own on it. Of the processes one repairs: it holds
 *    a lock of the range (F_OFD_SETLK, fcntl(2)), which the kernel takes back if
 *    it dies. Who touches the page meanwhile gets SIGBUS, waits for that lock,
 *    and if the page is still a hole then, fills it himself: a page without a
 *    hole is what tells that the last one finished.
 *
 * So the file must have no holes, and must not be given any
 * (FALLOC_FL_PUNCH_HOLE, MADV_REMOVE, ftruncate(2)) while it is registered: such
 * a hole is filled from the source like a lost page.
 *
 * Files on a disk need neither: what replaces a page is written to the file
 * in one piece. But a page that was lost before it was written back is a loss: the
 * file itself is no source for it, unless the region has digests and they match.
 */
#ifndef BEZOAR_SHARED_H
#define BEZOAR_SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define BEZ_SHARED_EXCLUSIVE	0x1u
#define BEZ_SHARED_FENCED	0x2u

struct bez_shared {
	uint32_t size;			/* sizeof(struct bez_shared) */
	uint32_t flags;			/* one of BEZ_SHARED_*; 0: on a disk */
	uint64_t offset;		/* where in the file the region begins */
	int fd;				/* the file, open for writing; it may be
					 * closed after bez_region_add().
					 * EXCLUSIVE MAP_ANONYMOUS memory: -1 */
	uint32_t reserved;		/* 0 */
};

#define BEZ_SHARED_INIT { sizeof(struct bez_shared), 0, 0, -1, 0 }

/*
 * What bez_region_add() answers for policy.shared, beside its own: -EINVAL: bad
 * flags, or the region is not a MAP_SHARED mapping of that part of that file.
 * -EBADF: not open, or not for writing. -ENODATA: the file has holes, or ends
 * before the region. -EPERM: it is sealed against writing, or mapped by way of a
 * descriptor for reading. -EOPNOTSUPP: memory that cannot be fenced here (no
 * userfaultfd with UFFD_FEATURE_SIGBUS, Linux 4.14; FENCED on a disk). -EBUSY: a
 * userfaultfd of the program's has the range. -ENOSYS: no /proc. Or what the
 * system says; nothing was changed then.
 *
 * A child of fork(2) is a user of its own, and fenced before it runs; but not yet
 * in handlers that were given to pthread_atfork(3) before bez_start(), which must
 * not touch the memory. One that was made by a bare clone(2) or _Fork() has no
 * fence: its pages are refused (BEZ_OUTCOME_REFUSED_SHARED). A child that can
 * have no fence can not read the memory. A program that closes descriptors that are not its own takes away the
 * file (BEZ_OUTCOME_REFUSED_FILE), and its fence until its next fault there.
 */

/*
 * Open the file behind @fd once more, for bez_shared_pread(). Each thread that
 * reads needs its own: locks belong to it (open file description locks). close(2)
 * it as usual. A descriptor, or a negative errno; -ENOSYS: no /proc.
 * Context: any; not in a handler.
 */
int bez_shared_open(int fd);

/*
 * pread(2) of FENCED memory: waits until no page of the range is being replaced.
 * Returns the number of bytes read: less than @len at the end of the file,
 * before a lost page, or before one whose repairer died half-way. -ENODATA: the
 * first byte is on such a page; touch it through a mapping, or bez_recover(), and
 * read again. -ETIMEDOUT: somebody has been replacing it for ten seconds.
 * -EINVAL: more than 1 GiB, or beyond 2^62.
 * -EOPNOTSUPP: not on tmpfs, or a memfd (hugetlbfs does not tell its holes). Or
 * what the system says. @fd is from bez_shared_open().
 * Context: any thread, one at a time on one @fd; not in a handler.
 */
ssize_t bez_shared_pread(int fd, void *buf, size_t len, uint64_t offset);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
