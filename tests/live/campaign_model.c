/* SPDX-License-Identifier: MIT */
/*
 * What must be. truth[] has the bytes as they were written last; source[] what
 * the source says, which is the same unless it was spoiled. A lost page comes
 * back as the source has it, or, with digests, not at all if that is not the
 * truth.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

void camp_pattern(unsigned char *at, size_t len, uint64_t seed)
{
	uint64_t state = seed, word;
	size_t i;

	for (i = 0; i < len; i += sizeof(word)) {
		word = camp_random(&state) | 0x0101010101010101u;
		memcpy(at + i, &word, len - i < 8 ? len - i : 8);
	}
}

/* ------------------------------------------------------------------ sources */

static void write_source(struct camp *m, size_t from, size_t len)
{
	if (m->source_fd >= 0)
		CHECK_EQ(pwrite(m->source_fd, m->source + from, len,
				(off_t)(CAMP_SOURCE_AT + from)), len);
}

void camp_source_set(struct camp *m, size_t page, const unsigned char *from)
{
	size_t at = page * m->width;

	if (m->c.source == CAMP_ZERO)
		return;
	memcpy(m->source + at, from, m->width);
	write_source(m, at, m->width);
}

static void digest(struct camp *m, size_t from, size_t len)
{
	size_t i, page = live_page();

	for (i = from / page; i * page < from + len; i++)
		m->digests[i] = bez_digest(m->truth + i * page, page);
}

void camp_changed(struct camp *m, size_t from, size_t len)
{
	digest(m, from, len);
	if (m->c.source == CAMP_ZERO)
		return;
	memcpy(m->source + from, m->truth + from, len);
	write_source(m, from, len);
}

/* Is what the source has the truth? */
static int is_true(const struct camp *m, size_t page)
{
	size_t at = page * m->width;

	return !memcmp(m->truth + at, m->source + at, m->width);
}

/* ----------------------------------------------------------------- outcomes */

/* By mremap(2), which makes the page anew. */
static enum bez_outcome staged(const struct camp *m)
{
	if (m->c.kind == CAMP_MEMFD)
		return BEZ_OUTCOME_REFUSED_FILE;
	if (m->c.kind == CAMP_HUGE_MEMFD || m->c.numa)
		return BEZ_OUTCOME_REFUSED_ATTRS;
	return BEZ_OUTCOME_NONE;
}

enum bez_outcome camp_refusal(const struct camp *m, size_t page)
{
	if (m->c.digests && !is_true(m, page))
		return BEZ_OUTCOME_SOURCE_DIGEST;
	/* MADV_REMOVE refuses what is locked */
	if (m->c.kind == CAMP_SHARED && m->c.lock && live_is_real())
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	if (camp_is_shared(&m->c))
		return BEZ_OUTCOME_NONE;
	if (m->c.kind == CAMP_SHARED_FILE && !m->c.detach)
		return BEZ_OUTCOME_REFUSED_DETACH;
	if (camp_is_file(&m->c) || m->c.mremap)
		return staged(m);
	return BEZ_OUTCOME_NONE;
}

const unsigned char *camp_expected(const struct camp *m, size_t page)
{
	return (m->lost[page] ? m->source : m->truth) + page * m->width;
}

void camp_touched(struct camp *m, size_t page)
{
	size_t at = page * m->width;

	if (!m->lost[page])
		return;
	m->lost[page] = 0;
	m->apart[page] = (unsigned char)camp_is_file(&m->c);
	if (is_true(m, page))
		return;
	memcpy(m->truth + at, m->source + at, m->width);
	digest(m, at, m->width);
}

/* -------------------------------------------------------------------- bytes */

static void same_page(struct camp *m, size_t page)
{
	const unsigned char *is = m->at + page * m->width;
	const unsigned char *want = camp_expected(m, page);
	size_t i, wrong = 0, zeros = 0, first = 0;

	if (!memcmp(is, want, m->width))
		return;
	for (i = 0; i < m->width; i++) {
		if (is[i] == want[i])
			continue;
		first = wrong++ ? first : i;
		zeros += !is[i];
	}
	CHECKF(!wrong, "page %zu: %zu bytes are wrong, the first at %zu; "
	       "%zu of them zero", page, wrong, first, zeros);
}

void camp_check_others(struct camp *m, size_t but)
{
	size_t i;

	for (i = 0; i < m->pages; i++)
		if (!m->lost[i] && i != but)
			same_page(m, i);
}

void camp_check(struct camp *m, int all)
{
	size_t i;

	for (i = 0; i < m->pages; i++) {
		if (m->lost[i] && (!all || camp_refusal(m, i)))
			continue;
		same_page(m, i);
		camp_touched(m, i);
	}
}

/* --------------------------------------------------------------- attributes */

struct map {
	unsigned long start, end;
	struct camp_see see;
};

/* The next mapping of @f. 0: none. Without sd, which changes by itself. */
static int next_map(FILE *f, struct map *ret)
{
	unsigned long start, end;
	char line[512], *sd;
	int at;

	memset(ret, 0, sizeof(*ret));
	ret->see.pkey = -1;
	while (fgets(line, sizeof(line), f)) {
		at = 0;
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &start, &end,
			   ret->see.perms, &at) == 3 && at) {
			ret->start = start;
			ret->end = end;
			memset(ret->see.name, 0, sizeof(ret->see.name));
			sscanf(line + at, "%95[^\n]", ret->see.name);
		}
		sscanf(line, "ProtectionKey: %d", &ret->see.pkey);
		if (strncmp(line, "VmFlags:", 8))
			continue;
		snprintf(ret->see.flags, sizeof(ret->see.flags), "%.150s",
			 line + 8);
		ret->see.flags[strcspn(ret->see.flags, "\n")] = '\0';
		sd = strstr(ret->see.flags, " sd");
		if (sd)
			memmove(sd, sd + 3, strlen(sd + 3) + 1);
		return 1;
	}
	return 0;
}

void camp_see(const struct camp *m, size_t page, struct camp_see *ret)
{
	unsigned long addr = (unsigned long)m->at + page * m->width;
	FILE *f = fopen("/proc/self/smaps", "re");
	struct map map;
	int found = 0;

	CHECK(f);
	while (!found && next_map(f, &map))
		found = addr >= map.start && addr < map.end;
	fclose(f);
	CHECK(found);
	*ret = map.see;
}

/* What a page that left its file has to keep. */
static void same_apart(const struct camp *m, const struct camp_see *is)
{
	static const char *const flags[] = {
		" rd", " wr", " ex", " lo", " dd", " dc", " wf", " hg", " nh",
		" mg", " sr", " rr"
	};
	size_t i;

	CHECKF(!strncmp(is->perms, m->see.perms, 3), "%s, was %s", is->perms,
	       m->see.perms);
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		CHECKF(!strstr(is->flags, flags[i]) ==
		       !strstr(m->see.flags, flags[i]), "%s, was %s",
		       is->flags, m->see.flags);
}

static void same_map(const struct camp *m, const struct map *map)
{
	const struct camp_see *is = &map->see;
	size_t page = (map->start - (unsigned long)m->at) / m->width;

	CHECK_EQ(is->pkey, m->see.pkey);
	if (map->start >= (unsigned long)m->at && m->apart[page]) {
		same_apart(m, is);
		return;
	}
	CHECKF(!strcmp(is->perms, m->see.perms), "%s, was %s", is->perms,
	       m->see.perms);
	CHECKF(!strcmp(is->flags, m->see.flags), "%s, was %s", is->flags,
	       m->see.flags);
	CHECKF(!strcmp(is->name, m->see.name), "'%s', was '%s'", is->name,
	       m->see.name);
}

void camp_check_attributes(struct camp *m)
{
	unsigned long start = (unsigned long)m->at, end = start + m->len;
	FILE *f = fopen("/proc/self/smaps", "re");
	struct map map;

	CHECK(f);
	while (start < end && next_map(f, &map)) {
		if (map.end <= start)
			continue;
		CHECKF(map.start <= start, "no mapping at %#lx", start);
		same_map(m, &map);
		start = map.end;
	}
	fclose(f);
	CHECKF(start >= end, "no mapping at %#lx", start);
}
