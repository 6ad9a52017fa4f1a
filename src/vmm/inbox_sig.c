/* SPDX-License-Identifier: MIT */
#include "vmm/inbox.h"

#include <errno.h>

void bzv_inbox_init(struct bzv_inbox *inbox)
{
	uint64_t i;

	atomic_store(&inbox->in, 0);
	atomic_store(&inbox->out, 0);
	for (i = 0; i < BZV_INBOX; i++)
		atomic_store(&inbox->cell[i].turn, i);
}

int bzv_inbox_put(struct bzv_inbox *inbox, const struct bzv_item *item)
{
	uint64_t at = atomic_load(&inbox->in);
	struct bzv_cell *cell;
	uint64_t turn;

	for (;;) {
		cell = &inbox->cell[at % BZV_INBOX];
		/* the item before its turn: pairs with bzv_inbox_take() */
		turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
		if (turn < at)
			return -ENOSPC;
		if (turn > at)
			at = atomic_load(&inbox->in);
		else if (atomic_compare_exchange_weak(&inbox->in, &at, at + 1))
			break;
	}
	cell->item = *item;
	/* pairs with bzv_inbox_take() */
	atomic_store_explicit(&cell->turn, at + 1, memory_order_release);
	return 0;
}

int bzv_inbox_take(struct bzv_inbox *inbox, struct bzv_item *ret_item)
{
	uint64_t at = atomic_load_explicit(&inbox->out, memory_order_relaxed);
	struct bzv_cell *cell = &inbox->cell[at % BZV_INBOX];

	/* pairs with bzv_inbox_put() */
	if (atomic_load_explicit(&cell->turn, memory_order_acquire) != at + 1)
		return -EAGAIN;
	*ret_item = cell->item;
	atomic_store_explicit(&cell->turn, at + BZV_INBOX,
			      memory_order_release);
	atomic_store_explicit(&inbox->out, at + 1, memory_order_relaxed);
	return 0;
}

int bzv_inbox_empty(struct bzv_inbox *inbox)
{
	uint64_t at = atomic_load_explicit(&inbox->out, memory_order_relaxed);

	return atomic_load_explicit(&inbox->cell[at % BZV_INBOX].turn,
				    memory_order_acquire) != at + 1;
}
