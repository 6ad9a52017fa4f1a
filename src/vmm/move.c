/* SPDX-License-Identifier: MIT */
/* What is lost goes with the guest: to the destination of a migration, or into a saved
 * state. */
#include "vmm/vmm.h"
#include "vmm/pure/form.h"

#include <errno.h>
#include <stdlib.h>

struct ranges {
	struct bzv_range *range;
	size_t count, room;
};

/* ----------------------------------------------------------------- export */

static int append(struct ranges *all, uint64_t gpa, uint64_t len)
{
	size_t room = all->room ? 2 * all->room : 64;
	struct bzv_range *more;

	if (all->count == all->room) {
		more = realloc(all->range, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		all->range = more;
		all->room = room;
	}
	all->range[all->count++] = (struct bzv_range){ gpa, len };
	return 0;
}

/* Each slot that shows some of it. */
static int collect_one(const struct bez_vm *vm, const struct bez_lost *lost,
		       struct ranges *all)
{
	struct bez_vm_lost one;
	struct bzv_piece slot;
	uint64_t gpa = 0;
	int r = 0;

	while (!r && !bzv_order_next(&vm->slots.by_gpa, gpa, &slot)) {
		if (bzv_shows(&slot, lost, &one))
			r = append(all, one.gpa, one.len);
		gpa = slot.end;
	}
	return r;
}

static int by_gpa(const void *a, const void *b)
{
	const struct bzv_range *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* What touches is one. */
static void join(struct ranges *all)
{
	size_t i, n = 0;

	for (i = 0; i < all->count; i++) {
		struct bzv_range *last = n ? &all->range[n - 1] : NULL;

		uint64_t end = all->range[i].gpa + all->range[i].len;

		if (!last || last->gpa + last->len < all->range[i].gpa)
			all->range[n++] = all->range[i];
		else if (last->gpa + last->len < end)
			last->len = end - last->gpa;
	}
	all->count = n;
}

int64_t bez_vm_export(struct bez_vm *vm, enum bez_vm_form form, void *dst,
		      size_t len)
{
	struct ranges all = { .range = NULL };
	struct bez_lost lost;
	uint64_t at = 0;
	int64_t r = 0;

	if (!vm || (!dst && len) ||
	    (form != BEZ_VM_FORM_JSON && form != BEZ_VM_FORM_BINARY))
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	while (!r && !bez_lost_next(&at, &lost))
		r = collect_one(vm, &lost, &all);
	pthread_mutex_unlock(&vm->lock);
	if (!r) {
		if (all.count)
			qsort(all.range, all.count, sizeof(*all.range), by_gpa);
		join(&all);
		r = bzv_form_write(form, all.range, all.count, dst, len);
	}
	free(all.range);
	return r;
}

/* ----------------------------------------------------------------- import */

/* Is all of it memory of the guest? */
static int is_there(const struct bez_vm *vm, struct bzv_range range)
{
	struct bzv_piece slot;

	while (range.len) {
		uint64_t n;

		if (bzv_order_find(&vm->slots.by_gpa, range.gpa, &slot))
			return 0;
		n = slot.end - range.gpa;
		if (n > range.len)
			n = range.len;
		range.gpa += n;
		range.len -= n;
	}
	return 1;
}

/* The caller has the lock. */
static int is_in_memory(const struct bez_vm *vm, uint64_t start, uint64_t end)
{
	const struct bzv_memory *m;

	for (m = vm->memory; m; m = m->next)
		if (start >= m->start && end <= m->end)
			return 1;
	return 0;
}

/* Here the memory may be of larger pages than there: then all of a page is lost. */
static int add_wide(const struct bez_vm *vm, uint64_t start, uint64_t end)
{
	static const uint64_t width[] = { 1u << 21, 1u << 30 };
	size_t i;
	int r = bez_lost_add((void *)start, end - start);

	for (i = 0; r == -EINVAL && i < 2; i++) {
		uint64_t from = start & -width[i];
		uint64_t to = (end + width[i] - 1) & -width[i];

		if (is_in_memory(vm, from, to))
			r = bez_lost_add((void *)from, to - from);
	}
	return r;
}

static int add(const struct bez_vm *vm, struct bzv_range range)
{
	struct bzv_piece slot;
	int r = 0;

	while (!r && range.len) {
		uint64_t n, hva;

		bzv_order_find(&vm->slots.by_gpa, range.gpa, &slot);
		n = slot.end - range.gpa;
		if (n > range.len)
			n = range.len;
		hva = slot.other + (range.gpa - slot.start);
		r = add_wide(vm, hva, hva + n);
		range.gpa += n;
		range.len -= n;
	}
	return r;
}

int bez_vm_import(struct bez_vm *vm, const void *from, size_t len)
{
	struct bzv_range *range = NULL;
	size_t count = 0, i;
	int r;

	if (!vm || (!from && len))
		return -EINVAL;
	r = bzv_form_read(from, len, &range, &count);
	if (r)
		return r;
	pthread_mutex_lock(&vm->lock);
	for (i = 0; !r && i < count; i++)
		if (!is_there(vm, range[i]))
			r = -ENOENT;
	for (i = 0; !r && i < count; i++)
		r = add(vm, range[i]);
	pthread_mutex_unlock(&vm->lock);
	free(range);
	return r;
}
