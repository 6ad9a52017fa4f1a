/* SPDX-License-Identifier: MIT */
/* The guest's view of the inventory, and the monitor's own accesses. */
#include "vmm/vmm.h"

#include <errno.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ accesses */

/* From @gpa on, what is in one slot; 0: nothing. */
static size_t piece_at(const struct bez_vm *vm, uint64_t gpa, size_t len,
		       int write, char **ret_hva)
{
	struct bzv_piece p;

	if (bzv_order_find(&vm->slots.by_gpa, gpa, &p) ||
	    (write && (p.flags & BEZ_VM_MAP_READ_ONLY)))
		return 0;
	*ret_hva = (char *)p.other + (gpa - p.start);
	return p.end - gpa < len ? (size_t)(p.end - gpa) : len;
}

size_t bez_vm_read(struct bez_vm *vm, void *dst, uint64_t gpa,
			      size_t len)
{
	char *to = dst, *from;
	size_t n, left;

	while (len && (n = piece_at(vm, gpa, len, 0, &from))) {
		left = bez_copy(to, from, n);
		len -= n - left;
		if (left)
			break;
		to += n;
		gpa += n;
	}
	return len;
}

size_t bez_vm_write(struct bez_vm *vm, uint64_t gpa,
			       const void *src, size_t len)
{
	const uint64_t start = gpa, all = len;
	const char *from = src;
	size_t n, left;
	char *to;

	while (len && (n = piece_at(vm, gpa, len, 1, &to))) {
		left = bez_copy(to, from, n);
		len -= n - left;
		if (left)
			break;
		from += n;
		gpa += n;
	}
	bzv_wrote(vm, start, all - len);
	return len;
}

/* ------------------------------------------------------------------ the list */

int bez_vm_lost_in(const struct bez_vm *vm, uint64_t gpa,
			      uint64_t len)
{
	uint64_t end = gpa + len < gpa ? UINT64_MAX : gpa + len;
	struct bzv_piece p;

	while (gpa < end && !bzv_order_next(&vm->slots.by_gpa, gpa, &p) &&
	       p.start < end) {
		uint64_t from = gpa > p.start ? gpa : p.start;
		uint64_t to = end < p.end ? end : p.end;

		if (bez_lost_in((void *)(p.other + (from - p.start)),
				(size_t)(to - from)))
			return 1;
		gpa = p.end;
	}
	return 0;
}

int bzv_shows(const struct bzv_piece *slot, const struct bez_lost *lost,
	      struct bez_vm_lost *ret)
{
	uint64_t start = (uint64_t)lost->addr, end = start + lost->width;
	uint64_t from = slot->other, to = from + (slot->end - slot->start);

	if (end <= from || start >= to)
		return 0;
	if (start > from)
		from = start;
	if (end < to)
		to = end;
	ret->hva = (void *)from;
	ret->gpa = slot->start + (from - slot->other);
	ret->len = to - from;
	ret->time_ns = lost->time_ns;
	return 1;
}

int bez_vm_lost_next(const struct bez_vm *vm, uint64_t *at,
				struct bez_vm_lost *ret_lost)
{
	struct bez_vm_lost best, one;
	struct bez_lost lost;
	uint64_t next = 0;
	int found = 0;

	if (!vm || !at || !ret_lost)
		return -EINVAL;
	while (!bez_lost_next(&next, &lost)) {
		uint64_t gpa = *at;
		struct bzv_piece slot;

		while (!bzv_order_next(&vm->slots.by_gpa, gpa, &slot)) {
			if (found && slot.start >= best.gpa)
				break;
			if (bzv_shows(&slot, &lost, &one) &&
			    one.gpa + one.len > *at &&
			    (!found || one.gpa < best.gpa)) {
				best = one;
				found = 1;
			}
			gpa = slot.end;
		}
	}
	if (!found)
		return -ENOENT;
	*ret_lost = best;
	*at = best.gpa + best.len;
	return 0;
}
