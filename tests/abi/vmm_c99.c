/* SPDX-License-Identifier: MIT */
/* A C99 program that is built against the installed libbezoar-vmm. */
#include <bezoar/vmm.h>
#include <string.h>

int main(void)
{
	struct bez_vm_options options;
	struct bez_vm *vm = 0;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	if (bez_vm_create(&options, &vm) == 0 || vm)
		return 1;		/* nothing was started */
	if (bez_vm_destroy(vm) || bez_vcpu_remove(0))
		return 2;
	return strcmp(bez_vm_error_name(BEZ_VM_ERROR_SRAR), "action required") ||
	       !*bez_vm_outcome_name(BEZ_VM_OUTCOME_HELD);
}
