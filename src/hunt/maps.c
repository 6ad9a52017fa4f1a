/* SPDX-License-Identifier: MIT */
/* What is mapped, as /proc/self/maps has it; proc_pid_maps(5). */
#include <errno.h>
#include <string.h>

#include "hunt/hunt.h"
#include "sys/sys.h"

#define BUFFER	65536u
#define LINE	4600u			/* the longest: a path, and what is before */

static const char *number(const char *at, unsigned int base, uint64_t *ret)
{
	const char *from = at;
	uint64_t n = 0;

	for (;; at++) {
		unsigned int c = (unsigned char)*at, digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (base == 16 && c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else
			break;
		n = n * base + digit;
	}
	*ret = n;
	return at > from ? at : NULL;
}

/* Behind the word that @at is in, and the blanks after it. */
static const char *next_word(const char *at)
{
	while (*at && *at != ' ')
		at++;
	while (*at == ' ')
		at++;
	return at;
}

static int begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static int is_device(const char *path)
{
	return begins(path, "/dev/") && !begins(path, "/dev/shm/") &&
	       !begins(path, "/dev/zero") && !begins(path, "/dev/hugepages");
}

int bz_maps_line(const char *line, struct bz_piece *ret)
{
	const char *at = number(line, 16, &ret->start), *perms;
	uint64_t inode;

	if (!at || *at != '-')
		return 0;
	at = number(at + 1, 16, &ret->end);
	if (!at || *at != ' ')
		return 0;
	perms = at + 1;
	if (strlen(perms) < 5 || perms[4] != ' ')
		return 0;
	/* offset, device */
	at = number(next_word(next_word(next_word(perms))), 10, &inode);
	if (!at)
		return 0;
	at = next_word(at);
	ret->first = 0;
	ret->flags = (perms[0] == 'r' ? BZ_PIECE_READ : 0) |
		     (perms[1] == 'w' ? BZ_PIECE_WRITE : 0) |
		     (perms[3] == 'p' ? BZ_PIECE_PRIVATE : 0);
	if (perms[3] == 'p' && (!inode || begins(at, "/anon_hugepage")))
		ret->flags |= BZ_PIECE_BARE;
	if (is_device(at) || begins(at, "[v"))	/* vvar, vsyscall */
		ret->flags |= BZ_PIECE_DEVICE;
	return 1;
}

/* All whole lines of the @len bytes at @at; *@ret_left is of one that is not. */
static int lines(char *at, size_t len, struct bz_pieces *ret, size_t *ret_left)
{
	struct bz_piece piece;
	char *end;
	int r = 0;

	while (!r && (end = memchr(at, '\n', len))) {
		*end = '\0';
		if (bz_maps_line(at, &piece))
			r = bz_pieces_add(ret, piece.start, piece.end,
					  piece.flags);
		len -= (size_t)(end + 1 - at);
		at = end + 1;
	}
	*ret_left = len;
	return r;
}

int bz_maps_read(struct bz_pieces *ret)
{
	long fd = bz_openat("/proc/self/maps", O_RDONLY | O_CLOEXEC), got = 0;
	size_t has = 0, left;
	char *buffer;
	uint32_t own;
	int r = 0;

	if (fd < 0)
		return (int)fd;
	buffer = bz_hunt_get(BUFFER, &own);
	if (!buffer) {
		bz_close((int)fd);
		return -ENOMEM;
	}
	while (!r) {
		got = bz_read((int)fd, buffer + has, BUFFER - has);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			break;
		has += (size_t)got;
		r = lines(buffer, has, ret, &left);
		memmove(buffer, buffer + has - left, left);
		has = left > LINE ? 0 : left;
	}
	if (!r && got < 0)
		r = (int)got;
	bz_hunt_put(buffer, BUFFER, own);
	bz_close((int)fd);
	/* what moved while it was read can be there twice */
	if (!r)
		bz_pieces_join(ret);
	return r;
}
