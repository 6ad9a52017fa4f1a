/* SPDX-License-Identifier: MIT */
/*
 * Save memory of which a part is lost, and bring it back; <bezoar/bezoar.h>
 * includes this.
 *
 * write(2) of a range with a lost page ends there, and says EFAULT when called
 * again. These go around it: what is lost is left out, and a trailer behind the
 * bytes says what that was.
 *
 *	struct bez_holes holes = { NULL, 0, 0, 0 };
 *
 *	bez_write_around(fd, table, sizeof(table), &holes);
 *	if (holes.count)
 *		warnx("%zu places are lost", holes.count);
 *	...
 *	bez_read_back(fd, table, sizeof(table), BEZ_BACK_LOSE, NULL);
 *
 * What is written is docs/around.md: the range as it is, zeros (in a file on a
 * disk: a hole) where it is lost, then the list of these places, and digests of
 * both. The first @len bytes are what any other program would expect there.
 */
#ifndef BEZOAR_AROUND_H
#define BEZOAR_AROUND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define BEZ_HOLES_MAX	1048576u	/* that one list can have */

/* A part of a range that is lost, in bytes from its beginning. */
struct bez_hole {
	uint64_t offset;
	uint64_t len;			/* not 0 */
};

/* In the order of their offsets; no two touch. */
struct bez_holes {
	struct bez_hole *hole;		/* yours: the first @room of them; NULL
					 * if that is 0 */
	size_t room;			/* yours: how many fit there */
	size_t count;			/* how many there are: it may be more */
	uint64_t bytes;			/* of all of them */
};

/*
 * Write [@addr, @addr + @len), which is mapped and may be read, to @fd at its
 * position, with what is lost left out. A lost page of a region with a source is
 * replaced, and written like any other; one that is in the inventory is not
 * touched; one that is lost only during the call is a hole, in a region or not.
 * No byte is written that was not read from the range. Where other threads write
 * to it meanwhile the file has some of what they wrote.
 *
 * @fd: a file, pipe, socket or anything that write(2) takes; one that does not
 * block is waited for. In a regular file (without O_APPEND) what is lost is
 * punched out where the file system can do that. 0, and @fd stands behind the
 * trailer; @ret_holes (NULL: not wanted) has what was left out.
 *
 * -EINVAL: the range wraps around, or holes with room and without a place. -E2BIG:
 * more than BEZ_HOLES_MAX. -ENOMEM. -EFAULT: memory of this call's own was lost:
 * call again. -ESRCH: not started. Or what write(2) said. Then a part may have been
 * written: it has no trailer, and bez_read_back() refuses it.
 * Context: normal code, any thread in which SIGBUS is not blocked; not in a
 * handler (-EDEADLK).
 */
int bez_write_around(int fd, const void *addr, size_t len,
		     struct bez_holes *ret_holes);

#define BEZ_BACK_LOSE	0x1u	/* what has no bytes is lost there, too: see
				 * bez_lost_add() */

/*
 * Read what bez_write_around() has written of a range of @len bytes, from the
 * position of @fd on, into [@addr, @addr + @len). All of it is read and checked
 * before any of the memory is changed: of a regular file twice, of anything else
 * into memory of its own, @len bytes of it.
 *
 * A hole is left as it is at @addr, or with BEZ_BACK_LOSE it is lost first of all.
 * What is lost at @addr, and the bytes of which are there, is opened by
 * bez_lost_clear() and written; an extent of which only a part is there, or that
 * cannot be opened, stays lost. 0, and @fd stands behind the trailer; @ret_holes
 * (NULL: not wanted) has all that was not written, also what was lost meanwhile.
 *
 * -EBADMSG: not of this form, cut off, damaged, or of a range of another length;
 * -EOPNOTSUPP: of a later version: nothing was changed. -EINVAL: the range wraps
 * around, an unknown flag, holes with room and without a place, or with
 * BEZ_BACK_LOSE a hole that is not of whole pages at @addr; nothing was changed.
 * -ESTALE: the file has changed between the two readings; then, as with all that is
 * said below, some of the bytes may have been written, and what was opened is lost
 * again. -EFAULT: memory of this
 * call's own was lost. -E2BIG, -ENOMEM, -ESRCH (not started), or what read(2) or
 * bez_lost_add() said. Of several holes those before the one that failed are lost.
 * Context: as above.
 */
int bez_read_back(int fd, void *addr, size_t len, uint32_t flags,
		  struct bez_holes *ret_holes);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
