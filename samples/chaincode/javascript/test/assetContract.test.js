'use strict';

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');

const { JSONSerializer } = require('fabric-contract-api');

const { AssetContract, contracts } = require('..');

// A peer's world state as far as the contract sees it: writes are kept only when the
// transaction ends well, and the range of keys is sorted.
class Ledger {
    constructor() {
        this.state = new Map();
        this.contract = new AssetContract();
    }

    async call(name, ...args) {
        const { state } = this;
        const writes = new Map();
        const stub = {
            getState: async (key) => state.get(key) ?? new Uint8Array(),
            putState: async (key, value) => void writes.set(key, value),
            getStateByRange: async function* () {
                for (const key of [...state.keys()].sort()) {
                    yield { key, value: state.get(key) };
                }
            },
        };
        const result = await this.contract[name]({ stub }, ...args);
        writes.forEach((value, key) => state.set(key, value));
        return result;
    }
}

describe('AssetContract', () => {
    it('is what the package offers to the peer', () => {
        assert.deepEqual(contracts, [AssetContract]);
    });

    it('gives a list from an empty ledger, not null', async () => {
        assert.deepEqual(await new Ledger().call('GetAllAssets'), []);
    });

    it('reads what it created, with the value as a number', async () => {
        const ledger = new Ledger();
        await ledger.call('CreateAsset', 'b', 'Aylin', '7');
        await ledger.call('CreateAsset', 'a', 'Brook', '8');
        assert.deepEqual(await ledger.call('ReadAsset', 'b'), { ID: 'b', Owner: 'Aylin', Value: 7 });
        assert.equal(await ledger.call('AssetExists', 'b'), true);
        assert.equal(await ledger.call('AssetExists', 'c'), false);
        assert.deepEqual((await ledger.call('GetAllAssets')).map((asset) => asset.ID), ['a', 'b']);
    });

    it('answers in JSON that the peer can pass on', async () => {
        const ledger = new Ledger();
        await ledger.call('CreateAsset', 'a', 'Aylin', '7');
        const answer = new JSONSerializer().toBuffer(await ledger.call('GetAllAssets'));
        assert.equal(answer.toString(), '[{"ID":"a","Owner":"Aylin","Value":7}]');
    });

    it('writes the same bytes as the sample in Go', async () => {
        const ledger = new Ledger();
        await ledger.call('CreateAsset', 'a', 'Aylin', '7');
        assert.equal(ledger.state.get('a').toString(), '{"ID":"a","Owner":"Aylin","Value":7}');
    });

    for (const [why, call, want] of [
        ['an asset twice', ['CreateAsset', 'taken', 'Dana', '1'], /asset "taken" exists already/],
        ['no ID', ['CreateAsset', '', 'Dana', '1'], /needs an ID/],
        ['no owner', ['CreateAsset', 'a', '', '1'], /needs an owner/],
        ['a value below zero', ['CreateAsset', 'a', 'Dana', '-1'], /whole number/],
        ['a value that is no number', ['CreateAsset', 'a', 'Dana', 'many'], /whole number/],
        ['reading nothing', ['ReadAsset', 'b'], /asset "b" does not exist/],
    ]) {
        it(`refuses ${why}`, async () => {
            const ledger = new Ledger();
            await ledger.call('CreateAsset', 'taken', 'Aylin', '1');
            await assert.rejects(ledger.call(...call), want);
            assert.equal(ledger.state.size, 1);
        });
    }

    it('says which key holds something foreign', async () => {
        const ledger = new Ledger();
        ledger.state.set('x', Buffer.from('not JSON'));
        await assert.rejects(ledger.call('ReadAsset', 'x'), /decoding asset "x"/);
        await assert.rejects(ledger.call('GetAllAssets'), /decoding asset "x"/);
    });
});
