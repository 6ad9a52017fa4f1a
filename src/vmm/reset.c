/* SPDX-License-Identifier: MIT */
/* A guest that begins anew finds its memory whole. */
#include "vmm/vmm.h"

#include <errno.h>

/* The caller has the lock. */
static int is_ours(const struct bez_vm *vm, const struct bez_lost *lost)
{
	const struct bzv_memory *m;

	for (m = vm->memory; m; m = m->next)
		if (m->slots && m->region == lost->region)
			return 1;
	return 0;
}

/* What the guest may only read has content that zeros are not: any part of it. */
static int is_read_only(const struct bez_vm *vm, const struct bez_lost *lost)
{
	uint64_t at = (uint64_t)lost->addr, end = at + lost->width;
	struct bzv_piece piece;

	while (!bzv_order_next(&vm->slots.by_hva, at, &piece) &&
	       piece.start < end) {
		if (piece.flags & BEZ_VM_MAP_READ_ONLY)
			return 1;
		at = piece.end;
	}
	return 0;
}

static int somebody_runs(struct bez_vm *vm)
{
	uint32_t n = atomic_load(&vm->vcpus), i;

	for (i = 0; i < n; i++) {
		struct bez_vcpu *v = bzv_vcpu(vm, i);

		if (v && atomic_load(&v->inside))
			return 1;
	}
	return 0;
}

/* It was another guest's, so to speak. */
static void forget(struct bez_vcpu *vcpu)
{
	struct bzv_item item;

	while (!bzv_inbox_take(&vcpu->inbox, &item))
		;
	vcpu->waiting = 0;
	vcpu->held_since = 0;
	atomic_store(&vcpu->holds, 0);
}

/* Each slot that shows some of it. Reads what is lock-free. */
static void tell(struct bez_vm *vm, const struct bez_lost *lost)
{
	struct bez_vm_lost one;
	struct bzv_piece slot;
	uint64_t gpa = 0;

	while (vm->o.wrote && !bzv_order_next(&vm->slots.by_gpa, gpa, &slot)) {
		if (bzv_shows(&slot, lost, &one))
			bzv_wrote(vm, one.gpa, one.len);
		gpa = slot.end;
	}
}

/* 1: it is none of this guest's. 0 or -errno. */
static int heal_one(struct bez_vm *vm, const struct bez_lost *lost)
{
	int r = 1;

	pthread_mutex_lock(&vm->lock);
	if (is_ours(vm, lost))
		r = is_read_only(vm, lost) ?
		    -EROFS : bez_lost_clear(lost->addr, lost->width);
	pthread_mutex_unlock(&vm->lock);
	return r;
}

/* All that can be. Returns the first refusal. */
static int heal(struct bez_vm *vm, uint64_t *ret_left)
{
	struct bez_lost lost;
	uint64_t at = 0;
	int ret = 0, r;

	*ret_left = 0;
	while (!bez_lost_next(&at, &lost)) {
		r = heal_one(vm, &lost);
		if (r > 0)
			continue;
		if (!r)
			tell(vm, &lost);
		if (r)
			*ret_left += lost.width;
		if (r && !ret)
			ret = r;
	}
	return ret;
}

int bez_vm_reset(struct bez_vm *vm, uint64_t *ret_left)
{
	uint64_t left = 0;
	uint32_t n, i;
	int r;

	if (!vm)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (somebody_runs(vm)) {
		pthread_mutex_unlock(&vm->lock);
		return -EBUSY;
	}
	n = atomic_load(&vm->vcpus);
	for (i = 0; i < n; i++)
		if (bzv_vcpu(vm, i))
			forget(bzv_vcpu(vm, i));
	pthread_mutex_unlock(&vm->lock);
	r = heal(vm, &left);
	if (ret_left)
		*ret_left = left;
	return r;
}
