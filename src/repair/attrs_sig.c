/* SPDX-License-Identifier: MIT */
/*
 * smaps, because it alone tells the advice that a mapping was given (VmFlags;
 * proc_pid_smaps(5)). No stdio in a handler: lines are cut by hand.
 */
#include "repair/attrs.h"

#include <string.h>
#include <sys/prctl.h>

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

/* "7f00-7f01 rw-p 00000000 00:00 0   [anon:name]": is @addr in it? */
static int header(const char *line, uint64_t addr, struct bz_attrs *a)
{
	uint64_t start, end, inode;
	const char *s = hex(line, &start);
	uint32_t field;

	if (s == line || *s != '-')
		return 0;
	s = hex(s + 1, &end);
	if (*s != ' ' || addr < start || addr >= end)
		return 0;
	s++;
	a->prot = (s[0] == 'r' ? PROT_READ : 0) | (s[1] == 'w' ? PROT_WRITE : 0) |
		  (s[2] == 'x' ? PROT_EXEC : 0);
	a->private_anonymous = s[3] == 'p';
	for (field = 0; field < 3; field++) {	/* offset, device, inode */
		while (*s && *s != ' ')
			s++;
		while (*s == ' ')
			s++;
	}
	s = hex(s, &inode);
	if (inode)
		a->private_anonymous = 0;
	while (*s == ' ')
		s++;
	if (begins(s, "[anon:")) {
		uint64_t len = strlen(s + 6);

		if (len && len <= BZ_ATTR_NAME) {
			memcpy(a->name, s + 6, len - 1);
			a->name[len - 1] = '\0';
		}
	} else if (*s && !begins(s, "[heap]") && !begins(s, "[stack")) {
		a->private_anonymous = 0;	/* [vdso] and the like */
	}
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
	/* grows down; a program's own userfaultfd; sealed; shadow stack;
	 * droppable; locked on fault; memory tags: not ours to make again */
	static const char unkept[][3] = { "gd", "um", "uw", "ui", "sl", "ss",
					  "dp", "lf", "mt" };
	/* hugetlb, device memory, shared */
	static const char not_anonymous[][3] = { "ht", "io", "pf", "mm", "sh" };
	uint32_t i;

	for (i = 0; i < sizeof(advised) / sizeof(advised[0]); i++)
		if (begins(f, advised[i].flag) &&
		    a->advices < sizeof(a->advice))
			a->advice[a->advices++] = advised[i].advice;
	for (i = 0; i < sizeof(unkept) / sizeof(unkept[0]); i++)
		a->unkept |= (uint8_t)begins(f, unkept[i]);
	for (i = 0; i < sizeof(not_anonymous) / sizeof(not_anonymous[0]); i++)
		if (begins(f, not_anonymous[i]))
			a->private_anonymous = 0;
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

int bz_attrs_read(uint64_t addr, void *scratch, struct bz_attrs *ret_attrs)
{
	struct lines l = { .buf = scratch, .size = bz_core.page };
	int found = 0, ret = -ENOENT;
	char *line;

	memset(ret_attrs, 0, sizeof(*ret_attrs));
	l.fd = (int)bz_openat("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (l.fd < 0)
		return l.fd == -ENOENT ? -ENOSYS : l.fd;	/* no /proc */
	while ((line = next_line(&l))) {
		if (!found) {
			found = header(line, addr, ret_attrs);
		} else if (begins(line, "ProtectionKey:")) {
			for (line += 14; *line; line++)
				if (*line >= '0' && *line <= '9')
					ret_attrs->pkey = ret_attrs->pkey * 10 +
							  (*line - '0');
		} else if (begins(line, "VmFlags:")) {
			flags(line + 8, ret_attrs);
			ret = 0;
			break;
		}
	}
	bz_close(l.fd);
	if (ret && l.err)
		return (int)l.err;
	if (!ret)
		read_numa(addr, &ret_attrs->numa);
	return ret;
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
