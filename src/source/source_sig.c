/* SPDX-License-Identifier: MIT */
#include "source/source.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "core/guard.h"
#include "source/digest.h"
#include "worker/defer.h"

/* What one source is asked for. */
struct order {
	struct bz_mm *mm;
	struct bz_walk *walk;
	const struct bz_source *source;
	uint64_t offset;		/* of the extent in the region */
	uint64_t len;
	uint64_t taken_ns;
	void *from;			/* where the content is built */
	const uint64_t *digest;		/* NULL: none */
};

/* ---- each returns 0 or a negative errno, or is abandoned (core/guard.h) */

static int from_mirror(void *arg)
{
	struct order *o = arg;

	memcpy(o->from, (const char *)o->source->mirror + o->offset, o->len);
	return 0;
}

static int from_zero(void *arg)
{
	struct order *o = arg;

	memset(o->from, 0, o->len);
	return 0;
}

/* Programs close descriptors that are not theirs; the number may stand for
 * another file by now. Asked before and after, as it may happen in between. */
static int same_file(const struct bz_source *s)
{
	struct bz_file_id id;

	return !bz_file_id(s->fd, &id) && id.dev == s->file_dev &&
	       id.ino == s->file_ino;
}

static int from_file(void *arg)
{
	struct order *o = arg;
	uint64_t done = 0;

	if (!same_file(o->source))
		return -EBADF;
	while (done < o->len) {
		long r = bz_pread(o->source->fd, (char *)o->from + done,
				  o->len - done,
				  o->source->offset + o->offset + done);

		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (!r)
			break;
		done += (uint64_t)r;
	}
	if (done < o->len) {
		if (!(o->source->flags & BEZ_SOURCE_EOF_ZERO))
			return -ENODATA;
		memset((char *)o->from + done, 0, o->len - done);
	}
	return same_file(o->source) ? 0 : -EBADF;
}

static int from_callback(void *arg)
{
	struct order *o = arg;

	/* what it says is its own affair: numbers mean something here */
	return o->source->fill(o->from, o->len, o->offset, o->source->arg) ?
	       -EIO : 0;
}

static int from_worker(void *arg)
{
	struct order *o = arg;

	return bz_defer(o->mm, o->walk, o->source, o->offset, o->len,
			o->taken_ns, &o->from);
}

static int check(void *arg)
{
	struct order *o = arg;

	return bz_digest(o->from, o->len) == *o->digest ? 0 : -EBADMSG;
}

static enum bez_outcome ask(struct order *o)
{
	static int (*const how[])(void *) = {
		[BEZ_SOURCE_ZERO] = from_zero,
		[BEZ_SOURCE_MIRROR] = from_mirror,
		[BEZ_SOURCE_FILE] = from_file,
		[BEZ_SOURCE_CALLBACK] = from_callback,
		[BEZ_SOURCE_DEFERRED] = from_worker,
	};
	int r = bz_guarded(o->walk, how[o->source->kind], o);

	if (!r && o->digest)
		r = bz_guarded(o->walk, check, o);
	switch (r) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case BZ_GUARD_LOST:
		return BEZ_OUTCOME_SOURCE_LOST;
	case -EBADMSG:
		return BEZ_OUTCOME_SOURCE_DIGEST;
	default:
		break;
	}
	if (o->source->kind == BEZ_SOURCE_DEFERRED && r == -ETIMEDOUT)
		return BEZ_OUTCOME_SOURCE_DEADLINE;
	if (o->source->kind == BEZ_SOURCE_DEFERRED && r == -EBUSY)
		return BEZ_OUTCOME_SOURCE_WORKER;
	return BEZ_OUTCOME_SOURCE_FAILED;
}

enum bez_outcome bz_source_fill(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_hit *hit, struct bz_extent x,
				uint64_t taken_ns, void **from,
				uint16_t *ret_kind)
{
	enum bez_outcome why = BEZ_OUTCOME_SOURCE_NONE;
	struct order o = {
		.mm = mm,
		.walk = w,
		.offset = x.start - hit->start,
		.len = x.width,
		.taken_ns = taken_ns,
	};
	uint32_t i;

	if (hit->digests)
		o.digest = &hit->digests[o.offset >> bz_core.page_shift];
	*ret_kind = BEZ_SOURCE_NONE;
	for (i = 0; i < hit->sources; i++) {
		o.source = &hit->source[i];
		o.from = *from;
		*ret_kind = o.source->kind;
		why = ask(&o);
		if (why == BEZ_OUTCOME_NONE) {
			*from = o.from;
			return why;
		}
		if (o.from != *from)	/* it may have been a secret */
			memset(o.from, 0, x.width);
	}
	return why;
}
