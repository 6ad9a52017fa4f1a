/* SPDX-License-Identifier: MIT */
#include "region/policy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/core.h"
#include "core/sized.h"

#define ALL_FLAGS (BEZ_POLICY_NO_RESTART | BEZ_POLICY_IS_MAPPED | \
		   BEZ_POLICY_BASE_PAGES | BEZ_POLICY_DETACH)
#define DEFAULT_REPEATS		16
#define DEFAULT_DEADLINE_NS	100000000u

static int mirror_from_user(const struct bez_source *from, uint64_t start,
			    uint64_t end, struct bz_source *to)
{
	uint64_t addr = (uint64_t)from->addr;

	if (!addr || addr + (end - start) < addr ||
	    (addr < end && start < addr + (end - start)))
		return -EINVAL;
	to->mirror = addr;
	return 0;
}

static int file_from_user(const struct bez_source *from, uint64_t start,
			  uint64_t end, struct bz_source *to)
{
	struct bz_file_id id;

	if (from->offset + (end - start) < from->offset ||
	    from->offset + (end - start) > INT64_MAX)
		return -EINVAL;
	if (bz_file_id(from->fd, &id))
		return -EBADF;
	to->fd = from->fd;
	to->offset = from->offset;
	to->file_dev = id.dev;
	to->file_ino = id.ino;
	return 0;
}

static int source_from_user(const struct bez_source *from, uint64_t start,
			    uint64_t end, struct bz_source *to)
{
	memset(to, 0, sizeof(*to));
	to->kind = (uint8_t)from->kind;
	if (from->flags & ~(from->kind == BEZ_SOURCE_FILE ?
			    BEZ_SOURCE_EOF_ZERO : 0u))
		return -EINVAL;
	to->flags = (uint8_t)from->flags;

	switch (from->kind) {
	case BEZ_SOURCE_ZERO:
	case BEZ_SOURCE_SALVAGE:
		return 0;
	case BEZ_SOURCE_MIRROR:
		return mirror_from_user(from, start, end, to);
	case BEZ_SOURCE_FILE:
		return file_from_user(from, start, end, to);
	case BEZ_SOURCE_CALLBACK:
	case BEZ_SOURCE_DEFERRED:
		if (!from->fill)
			return -EINVAL;
		to->fill = from->fill;
		to->arg = from->arg;
		to->deadline_ns = from->deadline_ns ? from->deadline_ns :
						      DEFAULT_DEADLINE_NS;
		return 0;
	default:
		return -EINVAL;		/* unknown, or a list in a list */
	}
}

static int sources_from_user(const struct bez_source *from, uint64_t start,
			     uint64_t end, struct bz_said *said)
{
	const struct bez_source *list = NULL;
	struct bez_source s;
	uint32_t count = 1, i;
	int ret;

	said->sources = 0;
	said->is_list = 0;
	if (!from)
		return 0;
	s = *from;
	if (s.kind == BEZ_SOURCE_FIRST_OF) {
		list = s.list;
		count = s.count;
		if (!list || !count || count > BEZ_SOURCE_MAX_LIST || s.flags)
			return -EINVAL;
		said->is_list = 1;
	}
	for (i = 0; i < count; i++) {
		if (list)
			s = list[i];
		/* a copy: what was checked is what is kept */
		__asm__ volatile("" : "+m"(s));
		ret = source_from_user(&s, start, end, &said->source[i]);
		if (ret)
			return ret;
	}
	said->sources = (uint8_t)count;
	return 0;
}

/* The ladder with DEFAULT at its end, each action at most once. */
static int actions_from_user(const uint8_t from[4], uint8_t to[4])
{
	static const uint8_t usual[4] = { BEZ_ACTION_REPLACE,
					  BEZ_ACTION_DEFAULT };
	uint32_t i, seen = 0;

	if (!(from[0] | from[1] | from[2] | from[3])) {
		memcpy(to, usual, sizeof(usual));
		return 0;
	}
	memset(to, 0, 4);
	for (i = 0; i < 4 && from[i]; i++) {
		if (from[i] > BEZ_ACTION_DEFAULT || (seen & 1u << from[i]) ||
		    (seen & 1u << BEZ_ACTION_DEFAULT))
			return -EINVAL;
		seen |= 1u << from[i];
		to[i] = from[i];
	}
	for (; i < 4; i++)
		if (from[i])
			return -EINVAL;	/* a gap */
	return 0;
}

int bz_policy_degrades(const uint8_t actions[4])
{
	return memchr(actions, BEZ_ACTION_DEGRADE, 4) != NULL;
}

int bz_policy_from_user(const struct bez_policy *policy, uint64_t start,
			uint64_t end, struct bz_said *ret_said)
{
	struct bz_said *said = ret_said;
	struct bez_policy p;
	size_t length;
	int ret;

	ret = bz_sized_in(&p, sizeof(p), policy, policy->size);
	if (ret)
		return ret;
	if (p.flags & ~ALL_FLAGS)
		return -EINVAL;
	said->is_shared = p.shared != NULL;
	if (p.shared) {
		ret = bz_sized_in(&said->shared, sizeof(said->shared), p.shared,
				  p.shared->size);
		if (ret)
			return ret;
	}
	ret = actions_from_user(p.actions, said->actions);
	if (ret)
		return ret;
	said->on_lost = p.on_lost;
	said->on_lost_arg = p.on_lost_arg;
	/* nobody would call it */
	if (p.on_lost && (!bz_policy_degrades(said->actions) ||
			  (bz_core.flags & BEZ_START_NO_WORKER)))
		return -EINVAL;
	said->relay = p.relay;
	if (p.relay && (!bz_policy_degrades(said->actions) || !p.relay->relay))
		return -EINVAL;
	length = p.name ? strnlen(p.name, BEZ_NAME_MAX + 1) : 0;
	if (length > BEZ_NAME_MAX)
		return -ENAMETOOLONG;
	memset(said->name, 0, sizeof(said->name));
	if (length)
		memcpy(said->name, p.name, length);
	said->flags = p.flags;
	said->max_repeats = p.max_repeats ? p.max_repeats : DEFAULT_REPEATS;
	said->digests = p.digests;
	return sources_from_user(p.source, start, end, said);
}
