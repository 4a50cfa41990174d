/*-------------------------------------------------------------------------
 *
 * module_internal.h
 *		What the files of this room share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_MODULE_INTERNAL_H
#define PLINTH_MODULE_INTERNAL_H

#include "module/module.h"

/* The most prerequisites that a module has. */
#define MODULE_MAX_NEEDS 3

/* What is known of a module before any script of it is read. */
typedef struct ModuleDef
{
	const char *name;
	bool shared;						 /* one schema, of its own name */
	const char *needs[MODULE_MAX_NEEDS]; /* installed before it */
} ModuleDef;

/* The identity of a caller who runs a script, to be given back. */
typedef struct ModuleOwner
{
	Oid saved_user;
	int saved_context;
	int guc_level;
} ModuleOwner;

/* module_registry.c */
extern const ModuleDef *plinth_module_registry(int *count);
extern const ModuleDef *plinth_module_find(const char *name);
extern char *plinth_module_known_names(void);
extern char *plinth_module_script_name(const ModuleDef *module);
extern char *plinth_module_join_name(const ModuleDef *module,
									 const ModuleDef *other);
extern char *plinth_module_script_path(const char *script);
extern bool plinth_module_script_exists(const char *script);
extern List *plinth_module_upgrade_path(const ModuleDef *module,
										const char *from, const char *to);

/* module_script.c */
extern void plinth_module_require_owner(void);
extern void plinth_module_become_owner(ModuleOwner *owner);
extern void plinth_module_resign_owner(ModuleOwner *owner);
extern void plinth_module_run_script(const char *script, const char *schema);

#endif /* PLINTH_MODULE_INTERNAL_H */
