'use strict';

const { Contract } = require('fabric-contract-api');

// The name of a method is the name to call. What a method returns goes to the client as
// JSON, and strings as they are.
class AssetContract extends Contract {
    // Arguments arrive as strings.
    async CreateAsset(ctx, id, owner, value) {
        if (await this.AssetExists(ctx, id)) {
            throw new Error(`asset "${id}" exists already`);
        }
        await put(ctx, { ID: id, Owner: owner, Value: Number(value) });
    }

    async ReadAsset(ctx, id) {
        const data = await ctx.stub.getState(id);
        if (data.length === 0) {
            throw new Error(`asset "${id}" does not exist`);
        }
        return decode(id, data);
    }

    async AssetExists(ctx, id) {
        const data = await ctx.stub.getState(id);
        return data.length > 0;
    }

    // Ordered by ID, which is the order of the ledger's keys.
    async GetAllAssets(ctx) {
        const assets = [];
        for await (const { key, value } of ctx.stub.getStateByRange('', '')) {
            assets.push(decode(key, value));
        }
        return assets;
    }
}

async function put(ctx, asset) {
    if (asset.ID === '') {
        throw new Error('an asset needs an ID');
    }
    if (asset.Owner === '') {
        throw new Error(`asset "${asset.ID}" needs an owner`);
    }
    if (!Number.isSafeInteger(asset.Value) || asset.Value < 0) {
        throw new Error(`asset "${asset.ID}": the value must be a whole number from 0`);
    }
    // All endorsers must write the same bytes: JSON.stringify keeps the order in which
    // the fields were set, and nothing here depends on time, chance or the machine.
    await ctx.stub.putState(asset.ID, Buffer.from(JSON.stringify(asset)));
}

function decode(id, data) {
    try {
        return JSON.parse(Buffer.from(data).toString('utf8'));
    } catch (err) {
        throw new Error(`decoding asset "${id}": ${err.message}`);
    }
}

module.exports.AssetContract = AssetContract;
