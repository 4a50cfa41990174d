/*-------------------------------------------------------------------------
 *
 * compat.h
 *		The only place that knows one PostgreSQL release from another.
 *
 * Each block names the release that changed and offers the newer spelling
 * under a name of ours, so that it can be deleted whole when the old release
 * goes.  Elsewhere the code is written for the newest release.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_COMPAT_H
#define PLINTH_COMPAT_H

#include "postgres.h"

#include "fmgr.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "plinth supports PostgreSQL 15 to 18"
#endif

/* 16 moved the macros of variable-length types to a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 asks for memory that a setting keeps to come from guc_malloc(). */
#if PG_VERSION_NUM >= 160000
#include "utils/guc.h"
#define plinth_guc_malloc(size) guc_malloc(LOG, size)
#define plinth_guc_free(pointer) guc_free(pointer)
#else
#define plinth_guc_malloc(size) malloc(size)
#define plinth_guc_free(pointer) free(pointer)
#endif

/* 16 tells who may SET ROLE from who is a member. */
#include "utils/acl.h"
#if PG_VERSION_NUM >= 160000
#define plinth_member_can_set_role(member, role) \
	member_can_set_role(member, role)
#else
#define plinth_member_can_set_role(member, role) is_member_of_role(member, role)
#endif

/* 16 asks about rights on any kind of object in one function. */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#define plinth_namespace_aclcheck(oid, role, mode) \
	object_aclcheck(NamespaceRelationId, oid, role, mode)
#define plinth_proc_aclcheck(oid, role, mode) \
	object_aclcheck(ProcedureRelationId, oid, role, mode)
#else
#define plinth_namespace_aclcheck(oid, role, mode) \
	pg_namespace_aclcheck(oid, role, mode)
#define plinth_proc_aclcheck(oid, role, mode) pg_proc_aclcheck(oid, role, mode)
#endif

/* 16 lets a caller ask for the summarizing indexes only. */
#if PG_VERSION_NUM >= 160000
#define plinth_insert_index_tuples(target, slot, estate)                       \
	ExecInsertIndexTuples((target), (slot), (estate), false, false, NULL, NIL, \
						  false)
#else
#define plinth_insert_index_tuples(target, slot, estate) \
	ExecInsertIndexTuples((target), (slot), (estate), false, false, NULL, NIL)
#endif

/* 16 has one function that asks for the owner of any object. */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#define plinth_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#define plinth_owns_extension(extension, role) \
	object_ownercheck(ExtensionRelationId, extension, role)
#else
#define plinth_owns_database(database, role) \
	pg_database_ownercheck(database, role)
#define plinth_owns_extension(extension, role) \
	pg_extension_ownercheck(extension, role)
#endif

/* 16 dropped the kinds of ALTER TABLE commands that recurse. */
#if PG_VERSION_NUM < 160000
#include "nodes/parsenodes.h"
#define plinth_alter_table_type(type)                         \
	((type) == AT_AddColumnRecurse		  ? AT_AddColumn      \
	 : (type) == AT_DropColumnRecurse	  ? AT_DropColumn     \
	 : (type) == AT_AddConstraintRecurse  ? AT_AddConstraint  \
	 : (type) == AT_DropConstraintRecurse ? AT_DropConstraint \
										  : (type))
#else
#define plinth_alter_table_type(type) (type)
#endif

/* 17 dropped ReorderBufferTupleBuf: the change now holds the tuple itself. */
#if PG_VERSION_NUM >= 170000
#define plinth_change_tuple(field) (field)
#else
#define plinth_change_tuple(field) ((field) ? &(field)->tuple : NULL)
#endif

/* 16 lets a caller allow columns that have no counterpart. */
#include "access/attmap.h"
#if PG_VERSION_NUM >= 160000
#define plinth_build_attrmap(from, to) \
	build_attrmap_by_name_if_req(from, to, false)
#else
#define plinth_build_attrmap(from, to) build_attrmap_by_name_if_req(from, to)
#endif

/* 16 has the macro; before, the field holds the top transaction, or NULL. */
#include "replication/reorderbuffer.h"
#if PG_VERSION_NUM >= 160000
#define plinth_transaction_top(txn) rbtxn_get_toptxn(txn)
#else
#define plinth_transaction_top(txn) ((txn)->toptxn)
#endif

/* 17 lets an extension name its wait events; before, all are "Extension". */
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#define plinth_wait_event(name) WaitEventExtensionNew(name)
#else
#include "utils/wait_event.h"
#define plinth_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 18 spells it so, and puts it first. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 18 dropped the executor's promise to be run only once. */
#if PG_VERSION_NUM >= 180000
#define plinth_executor_run(query, direction, count) \
	ExecutorRun(query, direction, count)
#else
#define plinth_executor_run(query, direction, count) \
	ExecutorRun(query, direction, count, true)
#endif

/* 17 gave slots two properties more: failover and synced. */
#include "replication/slot.h"
#if PG_VERSION_NUM >= 170000
#define plinth_create_temporary_slot(name) \
	ReplicationSlotCreate(name, true, RS_TEMPORARY, false, false, false)
#else
#define plinth_create_temporary_slot(name) \
	ReplicationSlotCreate(name, true, RS_TEMPORARY, false)
#endif

/* 18 asks whether a deferrable primary key is one. */
#if PG_VERSION_NUM >= 180000
#define plinth_primary_key_index(relation) \
	RelationGetPrimaryKeyIndex(relation, false)
#else
#define plinth_primary_key_index(relation) RelationGetPrimaryKeyIndex(relation)
#endif

/* 18 has generated columns that are stored nowhere. */
#if PG_VERSION_NUM >= 180000
#define plinth_column_is_virtual(attribute) \
	((attribute)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define plinth_column_is_virtual(attribute) false
#endif

/* 17 lets a logical message be flushed before the transaction ends. */
#include "replication/message.h"
#if PG_VERSION_NUM >= 170000
#define plinth_log_message(prefix, bytes, length) \
	LogLogicalMessage(prefix, bytes, length, true, false)
#else
#define plinth_log_message(prefix, bytes, length) \
	LogLogicalMessage(prefix, bytes, length, true)
#endif

/* 16 asks in one function for the relations that are to be left unread. */
#if PG_VERSION_NUM >= 160000
#define plinth_epq_init(epq, estate, plan, unread) \
	EvalPlanQualInit((epq), (estate), (plan), NIL, 0, (unread))
#else
#define plinth_epq_init(epq, estate, plan, unread) \
	EvalPlanQualInitExt((epq), (estate), (plan), NIL, 0, (unread))
#endif

/* 18 lets a module state its name and version. */
#if PG_VERSION_NUM >= 180000
#define PLINTH_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "plinth", .version = PLINTH_VERSION)
#else
#define PLINTH_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 18 names the state of a decoded transaction as a question. */
#if PG_VERSION_NUM >= 180000
#define plinth_txn_is_prepared(txn) rbtxn_is_prepared(txn)
#else
#define plinth_txn_is_prepared(txn) rbtxn_prepared(txn)
#endif

/* 18 takes bytes as such for base64. */
#if PG_VERSION_NUM >= 180000
#define plinth_b64_encode(bytes, length, text, size) \
	pg_b64_encode((const uint8 *) (bytes), length, text, size)
#else
#define plinth_b64_encode(bytes, length, text, size) \
	pg_b64_encode((const char *) (bytes), length, text, size)
#endif

/* 18 asks whether a plan writes to the relation. */
#if PG_VERSION_NUM >= 180000
#define plinth_range_table_relation(estate, rti) \
	ExecGetRangeTableRelation(estate, rti, false)
#else
#define plinth_range_table_relation(estate, rti) \
	ExecGetRangeTableRelation(estate, rti)
#endif

#endif /* PLINTH_COMPAT_H */
