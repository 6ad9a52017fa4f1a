/* SPDX-License-Identifier: MIT */
#include "vmm/vmm.h"

const char *bez_vm_error_name(enum bez_vm_error error)
{
	switch (error) {
	case BEZ_VM_ERROR_NONE:
		return "none";
	case BEZ_VM_ERROR_SRAR:
		return "action required";
	case BEZ_VM_ERROR_SRAO:
		return "action optional";
	case BEZ_VM_ERROR_UCNA:
		return "no action now";
	case BEZ_VM_ERROR_CORRECTED:
		return "corrected";
	}
	return "unknown";
}

const char *bez_vm_outcome_name(enum bez_vm_outcome outcome)
{
	switch (outcome) {
	case BEZ_VM_OUTCOME_NONE:
		return "none";
	case BEZ_VM_OUTCOME_DELIVERED:
		return "delivered to the guest";
	case BEZ_VM_OUTCOME_HELD:
		return "held until the guest can take it";
	case BEZ_VM_OUTCOME_PAUSED:
		return "the guest is to be stopped";
	case BEZ_VM_OUTCOME_GAVE_UP:
		return "the guest cannot go on";
	case BEZ_VM_OUTCOME_MERGED:
		return "the same waits already";
	case BEZ_VM_OUTCOME_GONE:
		return "the guest does not have this memory any more";
	case BEZ_VM_OUTCOME_GOOD:
		return "good again";
	case BEZ_VM_OUTCOME_FULL:
		return "too many wait";
	case BEZ_VM_OUTCOME_REFUSED:
		return "refused by KVM";
	}
	return "unknown";
}
