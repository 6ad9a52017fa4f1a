/* SPDX-License-Identifier: MIT */
#include "hunt/hunt.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "core/sized.h"

#define FLAGS (BEZ_HUNT_REGIONS | BEZ_HUNT_MAPPINGS | BEZ_HUNT_THREADS | \
	       BEZ_HUNT_REPLACE)
#define FRAMES (16u << 10)		/* of ours on the caller's stack, at most */

/* In this thread, further up: a bez_hunt_fn, or a handler on top of us. */
static __thread volatile int hunting
	__attribute__((tls_model("initial-exec")));

void bz_hunt_helps(void)
{
	hunting = 1;
}

static int options_from_user(const struct bez_hunt_options *options,
			     struct bez_hunt_options *o)
{
	int r;

	if (!options)
		return -EINVAL;
	r = bz_sized_in(o, sizeof(*o), options, options->size);
	if (r)
		return r;
	if ((o->flags & ~FLAGS) || o->threads > BZ_HUNTERS ||
	    (!o->ranges && o->range_count) || (!o->extents && o->extent_count) ||
	    (!o->found && o->room))
		return -EINVAL;
	if (!o->range_count && !(o->flags & (BEZ_HUNT_REGIONS |
					     BEZ_HUNT_MAPPINGS |
					     BEZ_HUNT_THREADS)))
		return -EINVAL;
	/* what is found there may be unmapped before it is replaced */
	if ((o->flags & BEZ_HUNT_REPLACE) &&
	    (o->flags & (BEZ_HUNT_MAPPINGS | BEZ_HUNT_THREADS)) &&
	    !bz_hunt_has_door())
		return -EOPNOTSUPP;
	return 0;
}

/* Memory of the call's: it has the addresses that are hunted. */
static int list_call(const struct bez_hunt_options *options,
		     const struct bez_hunt_options *o,
		     const struct bez_hunt_result *result,
		     struct bz_pieces *ret)
{
	const struct { const void *at; size_t bytes; } all[] = {
		{ options, options->size },
		{ o->ranges, o->range_count * sizeof(*o->ranges) },
		{ o->extents, o->extent_count * sizeof(*o->extents) },
		{ o->found, o->room * sizeof(*o->found) },
		{ result, result ? result->size : 0 },
	};
	size_t i;
	int r = 0;

	for (i = 0; !r && i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].at)
			r = bz_pieces_add(ret, (uint64_t)all[i].at,
					  (uint64_t)all[i].at + all[i].bytes,
					  0);
	return r;
}

/* From a stack pointer to the end of the mapping that it is in. */
static int stacks_of(const struct bz_pieces *pointers,
		     const struct bz_pieces *maps, struct bz_pieces *ret)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < pointers->count; i++) {
		uint64_t low = pointers->at[i].start & -(uint64_t)8;
		const struct bz_piece *p =
			bz_pieces_find(maps, pointers->at[i].end - 1);

		if (p && (p->flags & BZ_PIECE_WRITE))
			r = bz_pieces_add(ret, low > p->start ? low : p->start,
					  p->end, 0);
	}
	return r;
}

static int go(struct bz_hunt *h, const struct bz_pieces *call)
{
	struct bz_pieces pointers = { 0 }, stacks = { 0 };
	int r = 0;

	if (h->o.flags & BEZ_HUNT_THREADS)
		r = bz_ask_threads(h, &pointers);
	/* after they have answered: their stacks are there */
	if (!r)
		r = bz_maps_read(&h->maps);
	if (!r)
		r = stacks_of(&pointers, &h->maps, &stacks);
	if (!r)
		r = bz_where(h, &stacks, call);
	if (!r)
		r = atomic_load(&h->end);
	if (!r)
		r = bz_scan(h);
	bz_pieces_free(&pointers);
	bz_pieces_free(&stacks);
	return r;
}

static int tell(const struct bz_hunt *h, struct bez_hunt_result *ret_result)
{
	const struct bez_hunt_result result = {
		.size = sizeof(result),
		.threads_seen = h->seen,
		.threads_unseen = h->unseen,
		.generation = h->quarry.generation,
		.found = h->bag.found,
		.replaced = h->bag.replaced,
		.changed = h->bag.changed,
		.read_only = h->bag.read_only,
		.gone = h->bag.gone,
		.bytes = h->bag.bytes,
		.bytes_absent = h->bag.absent,
		.bytes_skipped = h->bag.skipped,
	};

	return ret_result ? bz_sized_out(ret_result, &result, sizeof(result)) :
			    0;
}

static int hunt(struct bz_hunt *h, const struct bez_hunt_options *options,
		struct bez_hunt_result *ret_result)
{
	struct bz_pieces call = { 0 };
	int r = list_call(options, &h->o, ret_result, &call), told;

	h->pagemap = (int)bz_openat("/proc/self/pagemap",
				    O_RDONLY | O_CLOEXEC);
	h->kernel = bz_hunt_kernel();
	h->copied = !!(h->o.flags & ~BEZ_HUNT_REPLACE);
	pthread_mutex_init(&h->telling, NULL);
	if (!r)
		r = bz_quarry_take(&h->o, &h->quarry);
	if (!r && h->quarry.extents.count)
		r = go(h, &call);
	if (!r || r == -ECANCELED) {
		told = tell(h, ret_result);
		r = told ? told : r;
	}
	bz_quarry_free(&h->quarry);
	bz_pieces_free(&h->spans);
	bz_pieces_free(&h->maps);
	bz_pieces_free(&call);
	pthread_mutex_destroy(&h->telling);
	if (h->pagemap >= 0)
		bz_close(h->pagemap);
	return r;
}

/* @high: where the caller's own frames begin. Not inlined: what is between is
 * that of bez_hunt() alone. */
static __attribute__((noinline)) int
enter(const struct bez_hunt_options *options,
      struct bez_hunt_result *ret_result, uint64_t high)
{
	uint64_t kept = (uint64_t)__builtin_dwarf_cfa();
	struct bez_hunt_options o;
	struct bz_hunt *h;
	struct bz_mm *mm;
	uint32_t own;
	int cancel, r = options_from_user(options, &o);

	if (r)
		return r;
	if (ret_result && ret_result->size < sizeof(uint32_t))
		return -EINVAL;
	mm = atomic_load(&bz_core.mm);
	if (!mm)
		return -ESRCH;
	if (bz_inside() || hunting)
		return -EDEADLK;
	/* not on the stack: it is not ours alone */
	h = bz_hunt_get(sizeof(*h), &own);
	if (!h)
		return -ENOMEM;
	/* helpers would go on without us */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	hunting = 1;
	h->o = o;
	h->mm = mm;
	h->kept = kept;
	h->high = high;
	h->low = high - FRAMES;
	r = hunt(h, options, ret_result);
	hunting = 0;
	bz_hunt_put(h, sizeof(*h), own);
	pthread_setcancelstate(cancel, NULL);
	return r;
}

int bez_hunt(const struct bez_hunt_options *options,
	     struct bez_hunt_result *ret_result)
{
	int r;

	/* what the caller keeps in registers goes into this frame */
	__builtin_unwind_init();
	r = enter(options, ret_result, (uint64_t)__builtin_dwarf_cfa());
	/* no jump to it instead of a call */
	__asm__ volatile("" : "+r"(r));
	return r;
}
