/* SPDX-License-Identifier: MIT */
/*
 * What the registers of a machine check hold for an error of the guest's memory:
 * the words of struct kvm_x86_mce but for the bank.
 */
#ifndef BEZOAR_VMM_PURE_ENCODE_H
#define BEZOAR_VMM_PURE_ENCODE_H

#include <bezoar/vmm.h>
#include <stdint.h>

struct bzv_mce {
	uint64_t status;	/* IA32_MCi_STATUS */
	uint64_t addr;		/* IA32_MCi_ADDR */
	uint64_t misc;		/* IA32_MCi_MISC */
	uint64_t mcg_status;	/* IA32_MCG_STATUS; 0: no exception comes of it */
};

struct bzv_said {
	enum bez_vm_vendor vendor;	/* INTEL or AMD */
	enum bez_vm_error error;	/* not NONE */
	uint64_t gpa;
	/*
	 * log2 of the width that is lost, 12 to 30; what is outside counts as the
	 * nearest of them. A Linux guest on Intel makes no use of an address with
	 * more than 12: it kills the program that met it, and keeps the page.
	 */
	uint8_t lsb;
	/*
	 * SRAR: the interrupted instruction may be run again (RIPV), and it is the
	 * one that met the error (EIPV). A guest that is told RIPV alone believes
	 * that another vCPU has met it, and goes on.
	 */
	uint8_t restart;
	uint8_t at_ip;
	uint8_t fetch;			/* SRAR: of the instruction itself */
	uint8_t lmce;			/* SRAR, Intel: this vCPU alone is told */
	uint32_t mcg_cap;		/* the guest's IA32_MCG_CAP; has MCG_SER_P */
};

/* Context: any, handler-safe. */
void bzv_encode(const struct bzv_said *said, struct bzv_mce *ret);

/* The same machine check on a vCPU that did not meet the error: broadcast, Intel.
 * Context: any, handler-safe. */
void bzv_encode_other(struct bzv_mce *ret);

#endif
