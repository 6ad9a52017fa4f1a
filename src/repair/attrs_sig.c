/* SPDX-License-Identifier: MIT */
/*
 * smaps, because it alone tells the advice that a mapping was given (VmFlags;
 * proc_pid_smaps(5)). No stdio in a handler: lines are cut by hand.
 */
#include "repair/attrs.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

#include "core/core.h"

#define SYS_MPOL_F_ADDR 2

struct lines {
	int fd;
	char *buf;			/* a page */
	uint64_t size, have, at;
	int skip;			/* the rest of a line comes next */
	long err;
};

/* The next line, without its end, NUL-terminated. NULL: no more, or an error.
 * Of one that is longer than a page (the path of another mapping's file) just
 * the beginning, which says whose it is. */
static char *next_line(struct lines *l)
{
	for (;;) {
		char *line = l->buf + l->at, *end;
		uint64_t rest = l->have - l->at;
		long r;

		end = rest ? memchr(line, '\n', rest) : NULL;
		if (end) {
			*end = '\0';
			l->at += (uint64_t)(end - line) + 1;
			if (!l->skip)
				return line;
			l->skip = 0;
			continue;
		}
		memmove(l->buf, line, rest);
		l->at = 0;
		l->have = rest;
		if (l->have + 1 >= l->size) {
			l->buf[l->have] = '\0';
			l->at = l->have;
			if (l->skip)
				continue;
			l->skip = 1;
			return l->buf;
		}
		r = bz_read(l->fd, l->buf + l->have, l->size - l->have - 1);
		if (r == -EINTR)
			continue;
		if (r < 0)
			l->err = r;
		if (r <= 0)
			return NULL;
		l->have += (uint64_t)r;
	}
}

static const char *hex(const char *s, uint64_t *ret)
{
	*ret = 0;
	for (;; s++) {
		if (*s >= '0' && *s <= '9')
			*ret = *ret << 4 | (uint64_t)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			*ret = *ret << 4 | (uint64_t)(*s - 'a' + 10);
		else
			return s;
	}
}

static int begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static const char *field(const char *s)
{
	while (*s && *s != ' ')
		s++;
	while (*s == ' ')
		s++;
	return s;
}

static const char *decimal(const char *s, uint64_t *ret)
{
	for (*ret = 0; *s >= '0' && *s <= '9'; s++)
		*ret = *ret * 10 + (uint64_t)(*s - '0');
	return s;
}

/* What a mapping without a file is called; [vdso] and the like are not ours. */
static void named(const char *s, struct bz_attrs *a)
{
	if (begins(s, "[anon:")) {
		uint64_t len = strlen(s + 6);

		if (len && len <= BZ_ATTR_NAME) {
			memcpy(a->name, s + 6, len - 1);
			a->name[len - 1] = '\0';
		}
	} else if (*s && !begins(s, "[heap]") && !begins(s, "[stack")) {
		a->memory.kind = BZ_MEMORY_OTHER;
	}
}

/* "7f00-7f01 rw-p 00000000 00:00 0   [anon:name]": is @addr in it? What comes
 * last, the name, to @ret_name. */
static int header(const char *line, uint64_t addr, struct bz_attrs *a,
		  const char **ret_name)
{
	uint64_t major, minor;
	const char *s = hex(line, &a->start);

	if (s == line || *s != '-')
		return 0;
	s = hex(s + 1, &a->end);
	if (*s != ' ' || addr < a->start || addr >= a->end)
		return 0;
	s++;
	a->prot = (s[0] == 'r' ? PROT_READ : 0) | (s[1] == 'w' ? PROT_WRITE : 0) |
		  (s[2] == 'x' ? PROT_EXEC : 0);
	a->memory.kind = s[3] == 'p' ? BZ_MEMORY_ANON : BZ_MEMORY_SHARED;
	hex(field(s), &a->offset);
	s = hex(field(field(s)), &major);
	hex(s + 1, &minor);
	a->dev = makedev((unsigned int)major, (unsigned int)minor);
	s = decimal(field(s), &a->ino);
	while (*s == ' ')
		s++;
	*ret_name = s;
	if (!a->ino)
		named(s, a);
	else if (a->memory.kind == BZ_MEMORY_ANON)
		a->memory.kind = BZ_MEMORY_PRIVATE;
	a->nameless = (uint8_t)begins(s, "/anon_hugepage");
	return 1;
}

static void one_flag(const char *f, struct bz_attrs *a)
{
	static const struct {
		char flag[3];
		uint8_t advice;
	} advised[] = {
		{ "dd", MADV_DONTDUMP },   { "dc", MADV_DONTFORK },
		{ "wf", MADV_WIPEONFORK }, { "hg", MADV_HUGEPAGE },
		{ "nh", MADV_NOHUGEPAGE }, { "mg", MADV_MERGEABLE },
		{ "sr", MADV_SEQUENTIAL }, { "rr", MADV_RANDOM },
	};
	/* grows down; sealed; shadow stack; droppable; locked on fault; memory
	 * tags: not ours to make again */
	static const char unkept[][3] = { "gd", "sl", "ss", "dp", "lf", "mt" };
	static const char watched[][3] = { "um", "uw", "ui" };
	/* device memory */
	static const char other[][3] = { "io", "pf", "mm" };
	uint32_t i;

	for (i = 0; i < sizeof(advised) / sizeof(advised[0]); i++)
		if (begins(f, advised[i].flag) &&
		    a->advices < sizeof(a->advice))
			a->advice[a->advices++] = advised[i].advice;
	for (i = 0; i < sizeof(unkept) / sizeof(unkept[0]); i++)
		a->unkept |= (uint8_t)begins(f, unkept[i]);
	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		a->watched |= (uint8_t)begins(f, watched[i]);
	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if (begins(f, other[i]))
			a->memory.kind = BZ_MEMORY_OTHER;
	/* MAP_ANONYMOUS | MAP_HUGETLB has a file's number, too */
	if (begins(f, "ht") && a->nameless &&
	    a->memory.kind == BZ_MEMORY_PRIVATE)
		a->memory.kind = BZ_MEMORY_ANON;
	a->locked |= (uint8_t)begins(f, "lo");
	a->noreserve |= (uint8_t)begins(f, "nr");
}

static void flags(const char *s, struct bz_attrs *a)
{
	for (; *s; s++)
		if (*s != ' ' && s[-1] == ' ' && s[1])
			one_flag(s, a);
}

/* All zero on a kernel without NUMA. */
static void read_numa(uint64_t addr, struct bz_numa *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (bz_sys(SYS_get_mempolicy, (long)&ret->mode, (long)ret->nodes,
		   sizeof(ret->nodes) * 8, (long)addr, SYS_MPOL_F_ADDR, 0))
		memset(ret, 0, sizeof(*ret));
}

/* KernelPageSize:, ProtectionKey:, VmFlags: (the last line). 1: that was it. */
static int detail(const char *line, struct bz_attrs *a)
{
	uint64_t n;

	if (begins(line, "KernelPageSize:")) {
		decimal(field(line), &n);
		if (n)
			a->memory.shift = (uint8_t)__builtin_ctzll(n * 1024);
	} else if (begins(line, "ProtectionKey:")) {
		decimal(field(line), &n);
		a->pkey = (int)n;
	} else if (begins(line, "VmFlags:")) {
		flags(line + 8, a);
		return 1;
	}
	return 0;
}

int bz_attrs_read(uint64_t addr, void *scratch, struct bz_attrs *ret_attrs)
{
	struct lines l = { .buf = scratch, .size = bz_core.page };
	int found = 0, done = 0;
	const char *name;
	char *line;

	memset(ret_attrs, 0, sizeof(*ret_attrs));
	l.fd = (int)bz_openat("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (l.fd < 0)
		return l.fd == -ENOENT ? -ENOSYS : l.fd;	/* no /proc */
	while (!done && (line = next_line(&l))) {
		if (found)
			done = detail(line, ret_attrs);
		else
			found = header(line, addr, ret_attrs, &name);
	}
	bz_close(l.fd);
	if (!done)
		return l.err ? (int)l.err : -ENOENT;
	read_numa(addr, &ret_attrs->numa);
	return 0;
}

/* Not inlined: frames are small here, and struct stat is not. */
static __attribute__((noinline)) int is_file(int fd,
					     const struct bz_attrs *attrs)
{
	struct bz_file_id id;

	return !bz_file_id(fd, &id) && id.dev == attrs->dev &&
	       id.ino == attrs->ino;
}

long bz_attrs_open(uint64_t addr, void *scratch, const struct bz_attrs *attrs)
{
	struct lines l = { .buf = scratch, .size = bz_core.page };
	struct bz_attrs here;
	const char *name;
	long fd = -ESTALE;
	char *line;

	l.fd = (int)bz_openat("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (l.fd < 0)
		return l.fd;
	while ((line = next_line(&l)))
		if (header(line, addr, &here, &name)) {
			fd = bz_openat(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
			break;
		}
	bz_close(l.fd);
	if (fd < 0)
		return fd;
	if (is_file((int)fd, attrs))
		return fd;
	bz_close((int)fd);
	return -ESTALE;
}

int bz_attrs_apply(uint64_t addr, uint64_t len, const struct bz_attrs *attrs,
		   const void *content)
{
	struct bz_numa numa;
	uint32_t i;
	long r = 0;

	read_numa(addr, &numa);
	if (memcmp(&numa, &attrs->numa, sizeof(numa)))
		return -EOPNOTSUPP;
	for (i = 0; i < attrs->advices && !r; i++)
		r = bz_madvise(addr, len, attrs->advice[i]);
	if (!r)
		memcpy((void *)addr, content, len);
	if (!r && attrs->name[0])
		r = bz_sys(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME,
			   (long)addr, (long)len, (long)attrs->name, 0);
	/* it, too, says ENOMEM, but most likely for RLIMIT_MEMLOCK */
	if (!r && attrs->locked &&
	    bz_sys(SYS_mlock, (long)addr, (long)len, 0, 0, 0, 0))
		r = -EOPNOTSUPP;
	if (!r && attrs->pkey)
		r = bz_sys(SYS_pkey_mprotect, (long)addr, (long)len,
			   attrs->prot, attrs->pkey, 0, 0);
	else if (!r && attrs->prot != (PROT_READ | PROT_WRITE))
		r = bz_sys(SYS_mprotect, (long)addr, (long)len, attrs->prot, 0,
			   0, 0);
	return (int)r;
}
